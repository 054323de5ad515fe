"""The page: plain files that ship in the wheel and talk to the REST API alone, like any other client of it."""
