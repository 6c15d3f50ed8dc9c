"""Commands, one in each file; `lbsim.cli.app` registers them."""
