"""mindeye2.stages"""
