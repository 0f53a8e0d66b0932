# How good is a network? Beside what it should beat: MediaPipe's landmarks alone (landmarks), a hand fitted to them
# (landmarks_fit), and filters over its own frames. The film has a test split alone, so no constant hand is fitted
# and no filter tuned. metrics.json in outputs/eval has every figure.
tempohand evaluate stage2=tempohand-small data=film landmarks=true device=cpu workers=0
