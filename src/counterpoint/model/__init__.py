"""What is declared: frozen values with no behaviour but their own rules."""
