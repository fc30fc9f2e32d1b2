"""`TrackPlusLogger`."""
