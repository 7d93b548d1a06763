"""Has the log changed since the champion was trained? A profile of each window, our own verdict, and Evidently's picture."""

from elec.drift.evidently_report import evidently_report
from elec.drift.histograms import FieldProfile, Profile, Window
from elec.drift.page import drift_page
from elec.drift.predictions import check_predictions, profile_predictions
from elec.drift.profile import profile
from elec.drift.reference import read_reference
from elec.drift.sample import sample
from elec.drift.verdict import Change, DriftVerdict, FieldDrift, check

__all__ = [
    "Change",
    "DriftVerdict",
    "FieldDrift",
    "FieldProfile",
    "Profile",
    "Window",
    "check",
    "check_predictions",
    "drift_page",
    "evidently_report",
    "profile",
    "profile_predictions",
    "read_reference",
    "sample",
]
