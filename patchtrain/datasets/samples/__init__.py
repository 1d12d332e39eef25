"""Small generated data sets in their real layouts, for trying things without the real data.

One writer per data set, in the file of its name; slides, vessels, scenes and digits draw the
pictures. Same arguments, same bytes. A folder appears as a whole or not at all.
"""
