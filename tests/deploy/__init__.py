"""The files for deployment, checked against the program; no container engine is needed.

Each check takes the folder that holds the files and yields a sentence for each thing that is wrong. So the same check runs
over the project, where it must find nothing, and over copies with one mistake each, where it must find that.
"""
