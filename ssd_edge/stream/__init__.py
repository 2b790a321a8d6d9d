"""Sources of frames: cameras, streams, recordings and pictures, and a thread that reads them ahead."""
