"""What becomes of frames and their detections: drawn, shown, recorded, told."""
