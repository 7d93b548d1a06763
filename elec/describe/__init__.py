"""What is in an ingested data set: figures and a page, for people who look at their log before they train on it."""

from elec.describe.aggregates import with_aggregates
from elec.describe.data import describe
from elec.describe.page import data_page
from elec.describe.summary import DataSummary

__all__ = ["DataSummary", "data_page", "describe", "with_aggregates"]
