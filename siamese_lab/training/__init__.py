"""Training: from a recipe and pictures to a network and a folder that holds everything needed to repeat the run."""
