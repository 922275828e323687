"""Training of the bundled encoder: from the catalogue generator and public photos to files and a model card."""
