"""What can be done with projects, documents, entries, queries and people; one module a noun."""
