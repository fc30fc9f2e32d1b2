"""Writers: where records end, each as files of one format."""
