"""Photographs with captions into layered training data: Text2Layer's road, record by record."""
