"""The question to the user before a bundle may run its own code."""

from __future__ import annotations

from pathlib import Path

from MedDeepLib.bundles.foreign.inspection import Finding
from MedDeepLib.errors import UserError


class NotTrusted(UserError):
    """A bundle needs trust to run, and the user has not trusted it.

    Attributes:
        folder: the bundle.
        findings: the parts that need trust.
        question: the full text for a dialog, with one line for each finding.
    """

    kind = "trust"

    def __init__(self, folder: Path, title: str, findings: tuple[Finding, ...]):
        self.folder, self.findings = folder, findings
        more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
        first = next(iter(findings)).in_words()
        super().__init__(
            f"The bundle '{title}' would run more than MONAI's own components: {first}{more}; "
            "such code can read, change and send away all your files, so trust it (in the menu beside the model, or by "
            "--trust) only if you know who made it."
        )
        lines = "\n".join(f"- {finding.in_words()}" for finding in findings)
        self.question = (
            f"The bundle '{title}' would run more than MONAI's own components:\n\n{lines}\n\n"
            "Such code can read, change and send away all files that you can. Trust this bundle only if you know who "
            "made it and how it came to you. It is trusted as it is now: once a file in it changes, you are asked "
            "again."
        )
