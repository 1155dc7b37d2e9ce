"""What the command line may say, and the sentence that is read when it says something else."""
