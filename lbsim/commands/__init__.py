"""Commands that have a file each; `lbsim.cli` registers them."""
