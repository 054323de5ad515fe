"""The page of a run: one offline HTML file that shows everything the run's folder holds."""
