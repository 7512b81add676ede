"""The home panel: devices, jobs and models of this computer."""
