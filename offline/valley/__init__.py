"""A valley that does not exist, drawn by chance with sizes as they are built: plant, network, customers, factories."""
