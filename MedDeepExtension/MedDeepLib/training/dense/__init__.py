"""Training on voxels: cached cases, patches cut from them, augmentation, deep supervision."""
