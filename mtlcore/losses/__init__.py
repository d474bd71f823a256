"""The losses of the method, and the joint loss that sums them over the global batch."""
