# The hands of a video: film-hands/overlay.mp4 shows them, film-hands/predictions.npz and .json have all numbers.
tempohand predict film.mp4
# A table of them, a row a hand and frame, for pandas, R or a spreadsheet: film-hands/predictions.csv.
tempohand export film-hands/predictions.npz --to csv
