"""Why a frame cannot be used: a closed list of reasons, each with what a person does about it."""

from __future__ import annotations

from errors import UserError, one_line

REASONS: dict[str, str] = {
    "bad_frame": "not a FITS image, damaged, or a header that contradicts its data: have it sent again; look at what wrote it",
    "frame_too_large": "more pixels or inflated bytes than a frame may have: send each detector as a frame",
    "no_detector": "the header names no detector: add its keyword to the table of instruments (docs/frames.md)",
    "no_filter": "the header names no filter that is known: add its name to the table of instruments (docs/frames.md)",
    "no_time": "the header has no time of the exposure, or two that contradict each other",
    "wrong_shape": "another shape than its masters or reference: another readout mode, window or binning",
    "no_master": "no master for the detector, filter, binning and night: `protonova masters build`, then it is re-driven",
    "bad_master": "a master whose bytes, shape or values cannot be: `protonova masters check`, then build it anew",
    "no_reference": "no reference image of the field and filter: `protonova references build`, then re-drive",
    "no_wcs": "no usable world coordinates, and no position in pixels to measure at: have the frame solved, then send it again",
    "no_stars": "no stars in common with the reference: clouds, a lost focus, or another pointing than the header says",
    "no_zero_point": "neither the reference nor a catalogue gives the magnitude of an electron: build the reference with a catalogue",
    "saturated_frame": "so much of it is saturated that nothing can be measured",
    "claim_refused": "a claim of a file outside the configured prefixes, or that is not a file: check `frames.prefixes`",
    "claim_changed": "the file differs from the length or sha256 of its claim: publish it again",
}
"""Reason → what to do about it."""


class FrameError(UserError):
    """A frame, master or reference that cannot be used.

    Parameters
    ----------
    reason : str
        One of `REASONS`.
    text : str
        One line: what exactly is wrong.
    """

    def __init__(self, reason: str, text: str) -> None:
        if reason not in REASONS:
            raise ValueError(f"{reason!r} is not a reason")
        super().__init__(one_line(text))
        self.reason = reason
