"""Figures of ingest and features."""

# Before Arrow is loaded: elec says where it takes its memory from, as in every command of elec.
import elec as elec
