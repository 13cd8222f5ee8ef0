"""What tiles are like: copies, outliers, clusters, labels that look wrong."""
