"""Commands that have a file each; `lbsim.cli.app` registers them."""
