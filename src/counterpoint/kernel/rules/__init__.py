"""What the policy is made of: small pure rules, each a generator of decisions."""
