"""How calls reach OpenNebula: HTTP connections, what a failure says, when to try again."""
