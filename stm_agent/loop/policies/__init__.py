"""Policies: what decides which action is next."""
