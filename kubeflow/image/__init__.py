"""A project's own container image, three lines on top of Headrace's: `headrace image build`."""
