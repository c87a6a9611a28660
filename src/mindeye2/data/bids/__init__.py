"""fMRIPrep derivatives with BIDS events, and single-trial responses from them."""

from mindeye2.data.bids.bids_reader import BidsResponses, BidsSettings, read_bids, read_responses

__all__ = ["BidsResponses", "BidsSettings", "read_bids", "read_responses"]
