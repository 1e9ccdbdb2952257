"""Programs for those who develop or try this integration; none of them is shipped."""
