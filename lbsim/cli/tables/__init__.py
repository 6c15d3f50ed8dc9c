"""Tables of results, 80 columns wide, without boxes or colours; one module for each command."""
