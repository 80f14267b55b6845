"""Running whole instances of Hauberk, as a person does: by the command line alone."""
