"""The numbers of the published table of facial expressions and action units, without tensors."""

from typing import Any

CITATION = "S. Du, Y. Tao, A. M. Martinez, 'Compound facial expressions of emotion', PNAS 2014, table 1"
# Prototypical action units weigh 1; observational ones carry the fraction of people who show them.
EXPRESSION_UNITS: dict[str, dict[str, Any]] = {
    "happiness": {"prototypical": ["AU12", "AU25"], "observational": {"AU6": 0.51}},
    "sadness": {
        "prototypical": ["AU4", "AU15"],
        "observational": {"AU1": 0.60, "AU6": 0.50, "AU11": 0.26, "AU17": 0.67},
    },
    "fear": {
        "prototypical": ["AU1", "AU4", "AU20", "AU25"],
        "observational": {"AU2": 0.57, "AU5": 0.63, "AU26": 0.33},
    },
    "anger": {"prototypical": ["AU4", "AU7", "AU24"], "observational": {"AU10": 0.26, "AU17": 0.52, "AU23": 0.29}},
    "surprise": {"prototypical": ["AU1", "AU2", "AU25", "AU26"], "observational": {"AU5": 0.66}},
    "disgust": {"prototypical": ["AU9", "AU10", "AU17"], "observational": {"AU4": 0.31, "AU24": 0.26}},
}
UNITS = tuple(f"AU{unit}" for unit in (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 15, 17, 20, 23, 24, 25, 26))
