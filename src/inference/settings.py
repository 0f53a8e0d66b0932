"""What `tempohand predict` uses where nothing else is asked for. Imports nothing heavy."""

# These networks come with the package (model/released).
NETWORK = "tempohand-tiny"
FINDER = "tempohand-finder"
# MediaPipe's hand model, which `tempohand detector-model` makes of this wheel.
DETECTOR_MODEL = "hand_landmarker.task"
DETECTOR_WHEEL = (
    "pip download --no-deps --dest . mediapipe==0.10.21 "
    "(for another Python add --python-version 3.11 --only-binary=:all:)"
)
