"""Pictures and videos as their files say: what a frame is, is decided here alone."""
