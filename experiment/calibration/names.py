"""What the methods are called where people read of them."""

from __future__ import annotations

METHOD_NAMES = {
    "z": "z, delta method",
    "welch_t": "Welch t",
    "fieller": "Fieller",
    "cuped": "CUPED",
    "always_valid": "always-valid, each look",
    "always_valid_running": "always-valid, running",
    "naive_impressions": "impressions as units",
    "naive_peeking": "peeking daily",
    "naive_scaled": "difference / control",
}
