"""The web page: `elysium app`."""
