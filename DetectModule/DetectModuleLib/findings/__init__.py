"""Findings, and the files they are kept in.

Positions are RAS millimetres. Boxes keep sub-voxel precision and their own orientation in every format.
"""

from DetectModuleLib.findings.files import read_findings, write_findings
from DetectModuleLib.findings.finding import REVIEWS, Finding, Mask

__all__ = ["REVIEWS", "Finding", "Mask", "read_findings", "write_findings"]
