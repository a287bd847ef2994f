"""Published test suites, run against a deployment."""
