"""TiDAR adapters: a mask embedding and LoRA on mask rows alone, which give any AR checkpoint drafts."""
