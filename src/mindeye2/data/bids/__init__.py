"""Adapter of fMRIPrep derivatives with BIDS events, by a single-trial GLM."""

from mindeye2.data.bids.bids_reader import BidsResponses, BidsSettings, read_bids, read_responses

__all__ = ["BidsResponses", "BidsSettings", "read_bids", "read_responses"]
