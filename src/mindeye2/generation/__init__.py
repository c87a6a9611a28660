"""mindeye2.generation"""
