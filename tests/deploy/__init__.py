"""What hub is deployed with, held against the program: there is no container engine where these tests run.

Each check takes the folder that holds the files and yields a sentence for each thing that is wrong. So the same check runs
over the project, where it must find nothing, and over copies with one mistake each, where it must find that.
"""
