"""mindeye2.released"""
