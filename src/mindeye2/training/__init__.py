"""mindeye2.training"""
