"""The REST API under ``/api/v1``: one router a noun."""
