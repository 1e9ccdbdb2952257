"""Programs to develop or try this integration; none of them is shipped."""
