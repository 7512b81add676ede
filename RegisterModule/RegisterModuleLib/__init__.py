"""Registration for MedDeepExtension: its methods, and what they share."""
