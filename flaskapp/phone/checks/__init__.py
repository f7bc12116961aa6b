"""What the doctor looks at: one function for each check, which asks and says what it found."""
