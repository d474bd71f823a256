"""Sources: readers that list a dataset's rows with their labels and fetch their inputs."""
